// Passkeys need JavaScript: what belongs to them is shown only where it runs and the browser knows passkeys.
(function () {
  "use strict";
  if (window.PublicKeyCredential) {
    for (const part of document.querySelectorAll("[data-needs-passkeys]")) part.hidden = false;
    for (const part of document.querySelectorAll("[data-without-passkeys]")) part.hidden = true;
  }
  const problem = document.getElementById("passkey-problem");
  document.addEventListener("allauth.error", function (event) {
    event.preventDefault();
    if (problem) {
      problem.hidden = false;
      problem.focus();
    }
  });
})();
