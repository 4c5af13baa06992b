/** A slug out of a name: what the API takes as a camera's id. */
export function slugOf(name: string): string {
  return name
    .normalize('NFD')
    .replace(/\p{Diacritic}/gu, '')
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, 40)
    .replace(/-+$/, '');
}

/** What the API takes as an id of a camera or an organization. */
export const SLUG = /^[a-z0-9][a-z0-9-]{0,39}$/;
