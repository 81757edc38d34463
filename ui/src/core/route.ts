// The addresses of the page: `#/` is the fleet, `#/w/ID` a workcell, `#/w/ID?o=OFFSET` an event of it.
export interface Route {
  readonly workcell: string | null;
  readonly offset: number | null;
}

/** Parse an address; an invalid one is the fleet's. */
export function parseRoute(hash: string): Route {
  const match = /^#\/w\/([^?]+)(?:\?o=(\d{1,15}))?$/.exec(hash);
  if (match?.[1] === undefined) return { workcell: null, offset: null };
  try {
    const workcell = decodeURIComponent(match[1]);
    return { workcell, offset: match[2] === undefined ? null : Number(match[2]) };
  } catch {
    return { workcell: null, offset: null };
  }
}

/** The address of the fleet. */
export const FLEET = '#/';

export function routeTo(workcell: string, offset: number | null = null): string {
  return `#/w/${encodeURIComponent(workcell)}${offset === null ? '' : `?o=${offset}`}`;
}
