import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Summary } from '../../src/contract.ts';
import { ansi } from '../../src/core/ansi.ts';
import { clip } from '../../src/core/clip.ts';
import {
  age,
  cost,
  count,
  counted,
  duration,
  spent,
  spentInWords,
  spentTogether,
  tokens,
} from '../../src/core/format.ts';
import { parseRoute, routeTo } from '../../src/core/route.ts';
import { safeLink } from '../../src/core/safe-link.ts';
import { visible } from '../../src/core/visible.ts';

describe('text of agents', () => {
  test('shows hidden characters', () => {
    expect(visible('a\u202eb\u0000').map((piece) => piece.text)).toEqual(['a', 'U+202E RLO', 'b', '␀ NUL']);
    expect(visible('a\ud800b')[1]).toMatchObject({ mark: 'U+D800' });
    expect(visible('\u{e0041}')[0]).toMatchObject({ mark: 'U+E0041' });
  });

  test('keeps plain text, line ends, tabs, emoji and joiners', () => {
    for (const text of ['plain\n\ttext', '👩‍💻 é 漢字'])
      expect(visible(text)).toEqual([{ text, mark: null }]);
    expect(visible('a\r\nb')).toEqual([{ text: 'a\nb', mark: null }]);
  });

  test('contains no control or bidirectional character', () => {
    const hidden = (character: string) =>
      /\p{Cc}|\p{Bidi_Control}/u.test(character) && !'\n\t'.includes(character);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(visible(text).flatMap((piece) => [...piece.text].filter(hidden))).toEqual([]);
      }),
    );
  });

  test('shows terminal colours as classes', () => {
    expect(ansi('a\u001b[1;31mred\u001b[0mb\u001b[38;5;2mg\u001b[39m')).toEqual([
      { text: 'a', classes: '' },
      { text: 'red', classes: 'ansi-bold ansi-fg-1' },
      { text: 'b', classes: '' },
      { text: 'g', classes: 'ansi-fg-2' },
    ]);
  });

  test('keeps the text after a control sequence', () => {
    const text = (value: string) =>
      ansi(value)
        .map((span) => span.text)
        .join('');
    expect(text('\u001b[2Khidden from me')).toBe('hidden from me');
    expect(text('\u001b]0;title\u0007shown')).toBe('shown');
    expect(text('\u001b[8msecret')).toBe('secret');
    expect(text('\u001b]unterminated')).toBe('\u001b]unterminated');
  });

  test('is cut by lines and by characters, unless little would be hidden', () => {
    expect(clip('a\nb\nc', 3)).toBe('a\nb\nc');
    expect(clip(`a\n${'b\n'.repeat(100)}`, 2)).toBe('a\nb');
    expect(clip('x'.repeat(10_000), 2)).toHaveLength(480);
  });

  test.each(['javascript:alert(1)', 'data:text/html,x', '/relative', 'file:///etc/passwd', 'JaVaScRiPt:x'])(
    'does not link to %s',
    (url) => expect(safeLink(url)).toBeNull(),
  );

  test('links to the web and to mail', () => {
    expect(safeLink('https://example.org/a')).toBe('https://example.org/a');
    expect(safeLink('mailto:a@example.org')).toBe('mailto:a@example.org');
  });
});

describe('addresses', () => {
  test('are parsed to what they were made from', () => {
    fc.assert(
      fc.property(fc.string({ minLength: 1 }), fc.option(fc.nat()), (workcell, offset) => {
        expect(parseRoute(routeTo(workcell, offset))).toEqual({ workcell, offset });
      }),
    );
  });

  test('that are invalid show the fleet', () => {
    for (const hash of ['', '#/', '#/w/', '#/w/%', '#/w/a?o=-1'])
      expect(parseRoute(hash).workcell).toBeNull();
  });
});

describe('numbers', () => {
  test('are short', () => {
    expect([count(950), count(12_430), count(3_140_000), count(999_900)]).toEqual([
      '950',
      '12.4k',
      '3.1M',
      '1.0M',
    ]);
    expect([duration(40), duration(2_210), duration(61_000), duration(7_260_000)]).toEqual([
      '40 ms',
      '2.2 s',
      '1 min 1 s',
      '2 h 1 min',
    ]);
    expect([age(500), age(59_000), age(3_600_000)]).toEqual(['now', '59 s', '1 h']);
    expect([cost(0), cost(0.001), cost(1.5)]).toEqual(['$0.00', '< $0.01', '$1.50']);
  });

  test('count cached input once', () => {
    expect(tokens({ input_tokens: 1_000, cache_read_tokens: 900, output_tokens: 5 })).toBe(
      '1.0k in · 5 out (90% cached)',
    );
  });
});

describe('the cost of a workcell', () => {
  test.each([
    ['success', 0.5, 0.6, '$0.50'],
    ['running', null, 0.6, '≈ $0.60'],
    ['running', 0.5, 0.6, '≈ $0.60'],
    ['running', 0.5, null, '$0.50'],
    ['cancelled', null, 0.6, '≈ $0.60'],
    ['failed', null, 0, '–'],
    ['failed', 0, 0, '$0.00'],
    ['new', null, null, '–'],
  ])('%s, reported %s, computed %s: %s', (status, cost_usd, cost_computed_usd, words) => {
    expect(spentInWords(spent({ status, cost_usd, cost_computed_usd } as Summary))).toBe(words);
  });

  test('in total is computed if any part is', () => {
    const of = (cost_usd: number | null, cost_computed_usd: number | null) =>
      ({ status: 'success', cost_usd, cost_computed_usd }) as Summary;
    expect(spentTogether([of(1, null), of(2, null), of(null, null)])).toEqual({ usd: 3, computed: false });
    expect(spentTogether([of(1, null), of(null, 2)])).toEqual({ usd: 3, computed: true });
  });
});

test('nouns are counted', () => {
  expect([counted(1, 'line'), counted(0, 'line'), counted(2_000, 'line')]).toEqual([
    '1 line',
    '0 lines',
    '2,000 lines',
  ]);
});
