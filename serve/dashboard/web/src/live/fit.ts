/** Where a picture lies when it is fitted into a view as large as its shape allows, centred. */

export interface Rect {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
}

export function contain(
  picture: { width: number; height: number },
  view: { width: number; height: number },
): Rect {
  if (picture.width <= 0 || picture.height <= 0) return { x: 0, y: 0, ...view };
  const scale = Math.min(view.width / picture.width, view.height / picture.height);
  const width = picture.width * scale;
  const height = picture.height * scale;
  return { x: (view.width - width) / 2, y: (view.height - height) / 2, width, height };
}
