// The beginning of a long text: so many lines, and no more characters than fit on them.
const WIDTH = 240;

/** The text itself if it is short enough, also if what would be hidden is not worth a button. */
export function clip(text: string, lines: number): string {
  let end = -1;
  for (let line = 0; line < lines; line += 1) {
    end = text.indexOf('\n', end + 1);
    if (end < 0) break;
  }
  const byLines = end < 0 ? text.length : end;
  const cut = Math.min(byLines, lines * WIDTH);
  return text.length - cut <= 40 ? text : text.slice(0, cut);
}
