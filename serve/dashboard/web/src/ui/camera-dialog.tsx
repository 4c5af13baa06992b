import { useState } from 'preact/hooks';
import {
  type CameraDraft,
  type CameraDraftProblem,
  cameraDraftProblem,
  toNewCamera,
} from '../domain/camera-form';
import { slugOf } from '../domain/slug';
import { type MessageKey, t } from '../i18n';
import { notify } from '../state/notices';
import type { Workspace } from '../state/workspace';
import { FormDialog } from './form-dialog';
import { TextField } from './text-field';

const PROBLEMS: Readonly<Record<CameraDraftProblem, MessageKey>> = {
  id: 'camera.id.invalid',
  url: 'camera.url.invalid',
  substream: 'camera.url.invalid',
};

export function CameraDialog({
  workspace,
  onClose,
}: {
  workspace: Workspace;
  onClose: () => void;
}) {
  const [draft, setDraft] = useState<CameraDraft>({ name: '', id: '', url: '', substream: '' });
  const [ownId, setOwnId] = useState(false);
  const [problem, setProblem] = useState<CameraDraftProblem | null>(null);

  const change = (changes: Partial<CameraDraft>) => {
    setDraft({ ...draft, ...changes });
    setProblem(null);
  };
  const check = () => {
    const found = cameraDraftProblem(draft);
    setProblem(found);
    return found ? t(PROBLEMS[found]) : null;
  };
  const add = async () => {
    const camera = await workspace.api.addCamera(toNewCamera(draft));
    notify('good', t('camera.added', { name: camera.name }));
    onClose();
    await workspace.refreshCameras();
  };

  return (
    <FormDialog
      title={t('camera.add.title')}
      submit={t('camera.add')}
      problem={check}
      onSubmit={add}
      onClose={onClose}
    >
      <TextField
        label={t('camera.name')}
        value={draft.name}
        onInput={(name) => change(ownId ? { name } : { name, id: slugOf(name) })}
      />
      <TextField
        label={t('camera.id')}
        hint={t('camera.id.hint')}
        value={draft.id}
        invalid={problem === 'id'}
        onInput={(id) => {
          setOwnId(id !== '');
          change({ id });
        }}
      />
      <TextField
        label={t('camera.url')}
        hint={t('camera.url.hint')}
        value={draft.url}
        invalid={problem === 'url'}
        onInput={(url) => change({ url })}
      />
      <TextField
        label={t('camera.substream')}
        hint={t('camera.substream.hint')}
        value={draft.substream}
        invalid={problem === 'substream'}
        onInput={(substream) => change({ substream })}
      />
    </FormDialog>
  );
}
