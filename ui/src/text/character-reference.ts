// Stands in for decode-named-character-reference, whose browser build asks innerHTML, which the policy forbids.
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

/** The character of a name; false for one not known here, which is then shown as it was written. */
export function decodeNamedCharacterReference(name: string): string | false {
  return Object.hasOwn(COMMON, name) ? (COMMON[name] ?? false) : false;
}
