// Terminal colours as spans of text with class names. Other control sequences are dropped, text never is.
export interface Span {
  readonly text: string;
  readonly classes: string;
}

// A sequence is matched to its own end only: a search for the next "m" could swallow text.
const SEQUENCE =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: escape sequences begin with one
  /\u001b(?:\[([0-9;:?<=>]*)[ -/]*([@-~])|\](?:[^\u0007\u001b]{0,2048})(?:\u0007|\u001b\\)|[()][0-9A-B]|[=>78cDEHM])/g;

const STYLES: Record<number, string> = {
  1: 'bold',
  2: 'dim',
  3: 'italic',
  4: 'underline',
  7: 'reverse',
  9: 'strike',
};

interface Style {
  foreground: string;
  background: string;
  readonly on: Set<number>;
}

/** Split a text into spans by its colours and styles. The style "hidden" (8) is ignored, so that no text is hidden. */
export function ansi(text: string): Span[] {
  if (!text.includes('\u001b')) return text === '' ? [] : [{ text, classes: '' }];
  const spans: Span[] = [];
  const style: Style = { foreground: '', background: '', on: new Set() };
  let done = 0;
  const flush = (until: number) => {
    if (until > done) spans.push({ text: text.slice(done, until), classes: classesOf(style) });
  };
  for (const match of text.matchAll(SEQUENCE)) {
    flush(match.index);
    done = match.index + match[0].length;
    if (match[2] === 'm') apply(style, match[1] ?? '');
  }
  flush(text.length);
  return spans;
}

function apply(style: Style, parameters: string): void {
  const codes = parameters.split(/[;:]/).map(Number);
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i] ?? 0;
    if (code === 0) {
      style.foreground = style.background = '';
      style.on.clear();
    } else if (code in STYLES) style.on.add(code);
    else if (code === 22) {
      style.on.delete(1);
      style.on.delete(2);
    } else if (code > 22 && code < 30) style.on.delete(code - 20);
    else if (code === 38 || code === 48) {
      const name = codes[i + 1] === 5 ? tableName(codes[i + 2] ?? -1) : '';
      if (code === 38) style.foreground = name;
      else style.background = name;
      i += codes[i + 1] === 5 ? 2 : 4;
    } else if (code >= 30 && code <= 39) style.foreground = code === 39 ? '' : String(code - 30);
    else if (code >= 40 && code <= 49) style.background = code === 49 ? '' : String(code - 40);
    else if (code >= 90 && code <= 97) style.foreground = String(code - 82);
    else if (code >= 100 && code <= 107) style.background = String(code - 92);
  }
}

/** The first 16 of the 256 colours have a name here; text in any other keeps its default colour. */
function tableName(index: number): string {
  return index >= 0 && index < 16 ? String(index) : '';
}

function classesOf(style: Style): string {
  const names = [...style.on].map((code) => `ansi-${STYLES[code]}`);
  if (style.foreground !== '') names.push(`ansi-fg-${style.foreground}`);
  if (style.background !== '') names.push(`ansi-bg-${style.background}`);
  return names.join(' ');
}
