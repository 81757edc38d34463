// The links in an agent's text that may be followed.
const SCHEMES = new Set(['http:', 'https:', 'mailto:']);

/** Return the normalized address; null if it is relative or has another scheme. */
export function safeLink(url: string): string | null {
  try {
    const parsed = new URL(url);
    return SCHEMES.has(parsed.protocol) ? parsed.href : null;
  } catch {
    return null;
  }
}
