// Starts Swagger UI on the unit's own description. The token stays in this page only.
(async () => {
  // A proxy may put a path before the unit's: what the description says relative to itself is told in full here.
  const unit = new URL(".", document.baseURI);
  const spec = await (await fetch("api/openapi.json")).json();
  spec.servers = [{ url: unit.href.replace(/\/$/, "") }];
  spec.components.securitySchemes.login.flows.password.tokenUrl = new URL("auth/token", unit).href;
  window.ui = SwaggerUIBundle({ spec, dom_id: "#swagger-ui", deepLinking: true, presets: [SwaggerUIBundle.presets.apis] });
})();
