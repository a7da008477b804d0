// Sends the one form of the sign-in page that a person opened; a mail scanner does not run it.
document.getElementById("continue").requestSubmit();
