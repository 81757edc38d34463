// Replaces decode-named-character-reference, whose browser build uses innerHTML, which the security policy forbids.
const COMMON: Record<string, string> = {
  amp: '&',
  apos: "'",
  copy: '©',
  gt: '>',
  hellip: '…',
  laquo: '«',
  larr: '←',
  lt: '<',
  mdash: '—',
  middot: '·',
  nbsp: '\u00a0',
  ndash: '–',
  quot: '"',
  raquo: '»',
  rarr: '→',
  times: '×',
};

/** The character of a name; false for an unknown name, which is then shown as written. */
export function decodeNamedCharacterReference(name: string): string | false {
  return Object.hasOwn(COMMON, name) ? (COMMON[name] ?? false) : false;
}
