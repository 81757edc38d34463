// Which links of an agent may be followed.
const SCHEMES = new Set(['http:', 'https:', 'mailto:']);

/** The address in its normal form, or null if it is relative or of any other scheme. */
export function safeLink(url: string): string | null {
  try {
    const parsed = new URL(url);
    return SCHEMES.has(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}
