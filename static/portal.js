// Closes an open menu on Escape and on a click elsewhere. Everything works without it.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
});
// Says so when a part of the page could not be fetched, and takes it back once one could.
for (const name of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
  document.addEventListener(name, () => { document.getElementById("trouble").hidden = false; });
}
document.addEventListener("htmx:afterOnLoad", (event) => {
  if (event.detail.successful) document.getElementById("trouble").hidden = true;
});
// Tabs that are reached sideways begin at the page's own.
for (const tab of document.querySelectorAll(".tabs [aria-current]")) {
  const tabs = tab.closest(".tabs");
  tabs.scrollLeft = tab.offsetLeft + tab.offsetWidth - tabs.offsetLeft - tabs.clientWidth + 24;
}
