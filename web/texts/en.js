// The texts of the page in English; zh.js has the same keys.

export const texts = {
  title: "Songs into stems",
  about:
    "This service splits a song into its stems, such as vocals and instrumental. Programs send songs to it; it answers " +
    "with a task, and says when the stems are ready.",
  send: "Send a song",
  documentation: "Documentation",
  docs: "Read the documentation",
  openapi: "OpenAPI document",
  health: "Is it up?",
};
