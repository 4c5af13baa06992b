/** The picture to draw rules on: the live one where the camera plays, else a snapshot. */

import type { ComponentChildren } from 'preact';
import { useEffect, useRef, useState } from 'preact/hooks';
import type { Camera } from '../domain/types';
import { t } from '../i18n';
import { onEachRepaint } from '../live/ticker';
import { asTrouble, type Workspace } from '../state/workspace';

const DEFAULT_ASPECT = 16 / 9;

export interface RulePictureProps {
  readonly workspace: Workspace;
  readonly camera: Camera;
  readonly children: (aspect: number) => ComponentChildren;
}

export function RulePicture({
  workspace,
  camera: { id, width, height },
  children,
}: RulePictureProps) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const [aspect, setAspect] = useState<number | null>(null);
  const [missing, setMissing] = useState(false);

  useEffect(() => {
    const show = (image: CanvasImageSource, across: number, down: number) => {
      const target = canvas.current;
      const context = target?.getContext('2d');
      if (!target || !context || across === 0 || down === 0) return;
      if (target.width !== across || target.height !== down) {
        target.width = across;
        target.height = down;
        setAspect(across / down);
      }
      context.drawImage(image, 0, 0, across, down);
    };
    const abort = new AbortController();
    const loadSnapshot = async () => {
      try {
        const blob = await workspace.api.cameraSnapshot(id, abort.signal);
        const bitmap = await createImageBitmap(blob);
        if (!abort.signal.aborted) show(bitmap, bitmap.width, bitmap.height);
        bitmap.close();
      } catch (error) {
        if (abort.signal.aborted) return;
        asTrouble(error);
        setMissing(true);
      }
    };
    if (!workspace.players.get(id)?.picture) void loadSnapshot();
    const stop = onEachRepaint(() => {
      const frame = workspace.players.get(id)?.picture;
      if (!frame) return;
      setMissing(false);
      show(frame, frame.displayWidth, frame.displayHeight);
    });
    return () => {
      abort.abort();
      stop();
    };
  }, [workspace, id]);

  // Until the picture comes, its shape is known from the camera: then nothing moves as it comes.
  const shape = aspect ?? (width && height ? width / height : DEFAULT_ASPECT);
  return (
    <div class="rule-picture" style={{ aspectRatio: String(shape) }}>
      <canvas ref={canvas} />
      {missing ? <p class="rule-picture-missing">{t('draw.noPicture')}</p> : null}
      {children(shape)}
    </div>
  );
}
