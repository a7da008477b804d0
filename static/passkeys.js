// Passkeys: asks the portal for a challenge and the device for its answer, then leads on.
// Without it, or where a browser knows no passkeys, the form stays hidden and the other ways remain.
const bytes = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (one) => one.charCodeAt(0));
const written = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer)))
    .replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

async function send(form, path, body) {
  const answer = await fetch(path, {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "X-CSRFToken": form.elements.csrf_token.value,
    },
    body: JSON.stringify(body),
  });
  const told = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(told.detail || "That did not work. Try again in a minute.");
  return told;
}

async function made(options) {
  options.challenge = bytes(options.challenge);
  options.user.id = bytes(options.user.id);
  for (const known of options.excludeCredentials || []) known.id = bytes(known.id);
  const found = await navigator.credentials.create({ publicKey: options });
  return {
    id: found.id,
    rawId: written(found.rawId),
    type: found.type,
    response: {
      clientDataJSON: written(found.response.clientDataJSON),
      attestationObject: written(found.response.attestationObject),
    },
  };
}

async function answered(options) {
  options.challenge = bytes(options.challenge);
  const found = await navigator.credentials.get({ publicKey: options });
  const { clientDataJSON, authenticatorData, signature, userHandle } = found.response;
  return {
    id: found.id,
    rawId: written(found.rawId),
    type: found.type,
    response: {
      clientDataJSON: written(clientDataJSON),
      authenticatorData: written(authenticatorData),
      signature: written(signature),
      userHandle: userHandle ? written(userHandle) : "",
    },
  };
}

function words(error) {
  if (error.name === "InvalidStateError") return "This device has a passkey for you already.";
  if (error instanceof DOMException) return "Nothing was done. Try again, or use another way.";
  return error.message;
}

for (const form of document.querySelectorAll("form[data-challenge]")) {
  if (!window.PublicKeyCredential) break;
  form.hidden = false;
  const button = form.querySelector("button");
  const said = form.querySelector("[role=alert]");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    button.disabled = true;
    said.textContent = "";
    try {
      const options = await send(form, form.dataset.challenge, {});
      const answer = options.user ? await made(options) : await answered(options);
      if (form.elements.name) answer.name = form.elements.name.value;
      const { goal } = await send(form, form.getAttribute("action"), answer);
      const here = location.pathname + location.search;
      location.assign(goal);
      // The same page with another anchor is not loaded by itself.
      if (goal.split("#")[0] === here) location.reload();
    } catch (error) {
      said.textContent = words(error);
      button.disabled = false;
    }
  });
}
