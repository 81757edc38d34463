// The page's folders as layers, and its modules as parts that do nothing until they are started.
import { posix } from 'node:path';
import { describe, expect, test } from 'vitest';

/** From the top: a module may import its own folder and the layers below; folders of one layer are siblings. */
const LAYERS = [
  ['.'],
  ['fleet', 'workcell', 'item'],
  ['common'],
  ['text'],
  ['core'],
  ['contract.ts', 'styles'],
];

const sources = import.meta.glob<string>('../src/**/*.{ts,tsx}', {
  query: '?raw',
  import: 'default',
  eager: true,
});
const modules = import.meta.glob('../src/**/*.{ts,tsx}');

/** The folder that a path in src belongs to. */
function roomOf(path: string): string {
  return path.includes('/') ? (path.split('/')[0] ?? '') : path === 'contract.ts' ? path : '.';
}

function layerOf(room: string): number {
  return LAYERS.findIndex((rooms) => rooms.includes(room));
}

/** Every import of a source that leaves its folder upwards or sideways. */
function violations(path: string, source: string): string[] {
  const own = roomOf(path);
  return [...source.matchAll(/(?:\bfrom|\bimport)\s*\(?\s*'(\.[^']+)'/g)]
    .map(([, specifier = '']) => posix.join(posix.dirname(path), specifier))
    .filter((target) => roomOf(target) !== own && layerOf(roomOf(target)) <= layerOf(own))
    .map((target) => `${path} imports ${target}`);
}

describe('the folders of the page', () => {
  test('are layers: no module imports a sibling folder or a layer above', () => {
    const paths = Object.entries(sources).map(
      ([path, source]) => [path.replace('../src/', ''), source] as const,
    );
    expect(paths.length).toBeGreaterThan(40);
    expect(paths.filter(([path]) => layerOf(roomOf(path)) < 0)).toEqual([]);
    expect(paths.flatMap(([path, source]) => violations(path, source))).toEqual([]);
  });

  test.each([
    ['fleet/a.ts', "import { b } from '../workcell/b.ts';"],
    ['item/a.ts', "import type { Rows } from '../workcell/rows.ts';"],
    ['common/a.ts', "export * from '../item/b.ts';"],
    ['text/a.ts', "const b = await import('../common/b.ts');"],
    ['core/deep/a.ts', "import '../../main.tsx';"],
  ])('%s may not hold %s', (path, source) => {
    expect(violations(path, source)).toHaveLength(1);
  });
});

/** What a module would need in order to act. */
const GLOBALS = [
  ...[
    'document',
    'window',
    'location',
    'history',
    'localStorage',
    'sessionStorage',
    'navigator',
    'matchMedia',
  ],
  ...[
    'addEventListener',
    'requestAnimationFrame',
    'ResizeObserver',
    'WebSocket',
    'fetch',
    'setTimeout',
    'setInterval',
  ],
];

test('importing a module does nothing, except for the entry point', async () => {
  const home = new URL('../src/', import.meta.url).pathname;
  const used: string[] = [];
  const before = GLOBALS.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)] as const);
  for (const [name, descriptor] of before) {
    let real: unknown = descriptor?.get ? descriptor.get.call(globalThis) : descriptor?.value;
    Object.defineProperty(globalThis, name, {
      configurable: true,
      get: () => {
        // Only direct uses count: the test runner, which loads the modules, needs timers itself.
        const [, , caller = ''] = new Error().stack?.split('\n') ?? [];
        if (caller.includes(home)) used.push(`${name} ${caller.trim()}`);
        return real;
      },
      set: (value) => {
        real = value;
      },
    });
  }
  try {
    for (const [path, load] of Object.entries(modules)) {
      if (path !== '../src/main.tsx') await load().catch((error) => used.push(`${path}: ${error}`));
    }
  } finally {
    for (const [name, descriptor] of before) {
      if (descriptor === undefined) Reflect.deleteProperty(globalThis, name);
      else Object.defineProperty(globalThis, name, descriptor);
    }
  }
  expect(used).toEqual([]);
});
