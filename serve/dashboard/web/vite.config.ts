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
      output: {
        // livekit-client is most of the page and changes rarely: a file of its own stays cached.
        codeSplitting: { groups: [{ name: 'livekit', test: /node_modules/ }] },
      },
    },
    chunkSizeWarningLimit: 800,
  },
  worker: { format: 'es' },
});
