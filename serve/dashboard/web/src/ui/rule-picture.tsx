/** The picture to draw rules on: the live one where the camera plays, else a snapshot. */

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import { t } from '../i18n';
import { onEachRepaint } from '../live/ticker';
import { asTrouble, type Workspace } from '../state/workspace';

const DEFAULT_ASPECT = 16 / 9;

export interface RulePictureProps {
  readonly workspace: Workspace;
  readonly camera: string;
  readonly children: (aspect: number) => ComponentChildren;
}

export function RulePicture({ workspace, camera, children }: RulePictureProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [aspect, setAspect] = useState<number | null>(null);
  const [missing, setMissing] = useState(false);

  useEffect(() => {
    const show = (image: CanvasImageSource, width: number, height: number) => {
      const target = canvas.current;
      const context = target?.getContext('2d');
      if (!target || !context || width === 0 || height === 0) return;
      if (target.width !== width || target.height !== height) {
        target.width = width;
        target.height = height;
        setAspect(width / height);
      }
      context.drawImage(image, 0, 0, width, height);
    };
    const abort = new AbortController();
    const loadSnapshot = async () => {
      try {
        const blob = await workspace.api.cameraSnapshot(camera, abort.signal);
        const bitmap = await createImageBitmap(blob);
        if (!abort.signal.aborted) show(bitmap, bitmap.width, bitmap.height);
        bitmap.close();
      } catch (error) {
        if (abort.signal.aborted) return;
        asTrouble(error);
        setMissing(true);
      }
    };
    if (!workspace.players.get(camera)?.picture) void loadSnapshot();
    const stop = onEachRepaint(() => {
      const frame = workspace.players.get(camera)?.picture;
      if (!frame) return;
      setMissing(false);
      show(frame, frame.displayWidth, frame.displayHeight);
    });
    return () => {
      abort.abort();
      stop();
    };
  }, [workspace, camera]);

  const shape = aspect ?? DEFAULT_ASPECT;
  return (
    <div class="rule-picture" style={{ aspectRatio: String(shape) }}>
      <canvas ref={canvas} />
      {missing ? <p class="rule-picture-missing">{t('draw.noPicture')}</p> : null}
      {children(shape)}
    </div>
  );
}
