import { defineConfig } from 'vite';

export default defineConfig({
  // Relative addresses: the page may be served below any path.
  base: './',
  build: {
    outDir: '../static',
    emptyOutDir: true,
    target: 'es2022',
    // No data: URLs, so that the content security policy needs none.
    assetsInlineLimit: 0,
    // The polyfill would be an inline script.
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: ['index.html', 'docs.html'],
      output: {
        // What is large and changes rarely stays cached as files of its own.
        codeSplitting: {
          groups: [
            { name: 'swagger', test: /node_modules\/swagger-ui-dist/ },
            { name: 'livekit', test: /node_modules/ },
          ],
        },
      },
    },
    chunkSizeWarningLimit: 1_600,
  },
  worker: { format: 'es' },
});
