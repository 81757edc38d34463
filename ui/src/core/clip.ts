// The beginning of a long text, limited in lines and in characters.
/** Characters per line that count towards the limit. */
const WIDTH = 240;
/** A rest of so few characters is shown instead of a button. */
const TRIFLE = 40;

/** Return the first lines of a text, or the whole text if little would be hidden. */
export function clip(text: string, lines: number): string {
  let end = -1;
  for (let line = 0; line < lines; line += 1) {
    end = text.indexOf('\n', end + 1);
    if (end < 0) break;
  }
  const byLines = end < 0 ? text.length : end;
  const cut = Math.min(byLines, lines * WIDTH);
  return text.length - cut <= TRIFLE ? text : text.slice(0, cut);
}
