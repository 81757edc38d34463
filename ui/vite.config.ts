import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  build: {
    outDir: '../consumer/workcast/consumer/static',
    emptyOutDir: true,
    // The gateway's content security policy forbids data: URLs and inline scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: 'es2023',
  },
  resolve: {
    alias: {
      'decode-named-character-reference': fileURLToPath(
        new URL('src/text/character-reference.ts', import.meta.url),
      ),
    },
  },
  server: { proxy: { '/api': { target: 'http://127.0.0.1:8787', ws: true } } },
  test: { include: ['tests/**/*.test.ts'], environment: 'node' },
});
