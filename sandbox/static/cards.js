// Fills in a test card at a click, and keeps an impatient second click from posting again.
const field = (name) => document.getElementById(name);

for (const button of document.querySelectorAll("button[data-number]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    field("number").value = button.dataset.number;
    field("expiry").value = "12/34";
    field("cvc").value = "123";
    const email = field("email");
    (email && !email.value ? email : document.querySelector("button[type=submit]")).focus();
  });
}

document.querySelector("form").addEventListener("submit", (event) => {
  const submit = event.target.querySelector("button[type=submit]");
  setTimeout(() => { submit.disabled = true; }, 0);
});

// Coming back by the browser's history finds the page as it was left.
addEventListener("pageshow", () => { document.querySelector("button[type=submit]").disabled = false; });
