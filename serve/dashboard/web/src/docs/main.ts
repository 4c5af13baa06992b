/** `/docs`: Swagger UI over our own OpenAPI description, with nothing from a foreign host. */
import SwaggerUI from 'swagger-ui-dist/swagger-ui-es-bundle.js';
import 'swagger-ui-dist/swagger-ui.css';

SwaggerUI({
  dom_id: '#docs',
  url: './openapi.json',
  deepLinking: true,
  // A key typed in here stays in this tab's memory.
  persistAuthorization: false,
  // Its badge would send the description to a public validator.
  validatorUrl: null,
});
