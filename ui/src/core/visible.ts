// Makes hidden characters visible: control, bidirectional and invisible ones.
export interface Piece {
  readonly text: string;
  /** The code point of a hidden character; null for plain text. */
  readonly mark: string | null;
}

const C0 =
  'NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US'.split(
    ' ',
  );

const NAMES: Record<string, string> = {
  'U+0085': 'NEL',
  'U+00AD': 'soft hyphen',
  'U+061C': 'ALM',
  'U+200B': 'zero-width space',
  'U+200E': 'LRM',
  'U+200F': 'RLM',
  'U+2028': 'LS',
  'U+2029': 'PS',
  'U+202A': 'LRE',
  'U+202B': 'RLE',
  'U+202C': 'PDF',
  'U+202D': 'LRO',
  'U+202E': 'RLO',
  'U+2060': 'word joiner',
  'U+2066': 'LRI',
  'U+2067': 'RLI',
  'U+2068': 'FSI',
  'U+2069': 'PDI',
  'U+FEFF': 'BOM',
};

// Joiners (U+200C, U+200D) stay, because scripts and emoji need them. Tag characters can carry text that only a model reads.
const HIDDEN =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what it finds
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\ud800-\udfff](?<![\ud800-\udbff][\udc00-\udfff])(?![\udc00-\udfff])|\udb40[\udc00-\udc7f]/g;

/** Split a text into pieces, with each hidden character as a piece of its own. */
export function visible(text: string): Piece[] {
  const pieces: Piece[] = [];
  let done = 0;
  const plain = text.replaceAll('\r\n', '\n');
  for (const match of plain.matchAll(HIDDEN)) {
    if (match.index > done) pieces.push({ text: plain.slice(done, match.index), mark: null });
    pieces.push(markOf(match[0].codePointAt(0) ?? 0));
    done = match.index + match[0].length;
  }
  if (done < plain.length) pieces.push({ text: plain.slice(done), mark: null });
  return pieces;
}

function markOf(code: number): Piece {
  const name = `U+${code.toString(16).toUpperCase().padStart(4, '0')}`;
  // Many fonts lack the control pictures, so the name follows.
  if (code < 0x20) return { text: `${String.fromCharCode(0x2400 + code)} ${C0[code]}`, mark: name };
  if (code === 0x7f) return { text: '␡ DEL', mark: name };
  const known = NAMES[name];
  return { text: known === undefined ? name : `${name} ${known}`, mark: name };
}
