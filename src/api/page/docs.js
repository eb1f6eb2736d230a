// Starts Swagger UI on the unit's own description. The token stays in this page only.
window.ui = SwaggerUIBundle({
  // Relative: a proxy may put a path before the unit's.
  url: "api/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  presets: [SwaggerUIBundle.presets.apis],
});
