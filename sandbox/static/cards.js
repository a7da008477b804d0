// Fills in a test card at a click, and keeps an impatient second click from posting again.
const field = (name) => document.getElementById(name);
const form = field("number")?.form;
const submit = form?.querySelector("button[type=submit]");

for (const button of document.querySelectorAll("button[data-number]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const way = form.querySelector("input[name=way][value=card]");
    if (way) way.checked = true;
    field("number").value = button.dataset.number;
    field("expiry").value = "12/34";
    field("cvc").value = "123";
    const email = field("email");
    (email && !email.value ? email : submit).focus();
  });
}

form?.addEventListener("submit", () => {
  setTimeout(() => { submit.disabled = true; }, 0);
});

// Coming back by the browser's history finds the page as it was left.
addEventListener("pageshow", () => { if (submit) submit.disabled = false; });
