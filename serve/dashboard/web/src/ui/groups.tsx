/** Groups of cameras, to which users and keys can be limited. */

import { useState } from 'preact/hooks';
import type { Api } from '../api/client';
import type { CameraGroup } from '../domain/access';
import { t } from '../i18n';
import { AccessList } from './access-list';
import { ChoiceField } from './choice-field';
import { ConfirmDialog } from './confirm-dialog';
import { FormDialog } from './form-dialog';
import { RowActions, Table } from './table';
import { TextField } from './text-field';
import { useDialog } from './use-dialog';
import { type ListState, useList } from './use-list';

const SHOWN = 8;

type Open =
  | { readonly dialog: 'add' }
  | { readonly dialog: 'change' | 'remove'; readonly group: CameraGroup };

export function Groups({ api, groups }: { api: Api; groups: ListState<CameraGroup> }) {
  const { items, error, reload } = groups;
  const { open, setOpen, close, done } = useDialog<Open>(reload);
  return (
    <AccessList
      title={t('group.list')}
      add={t('group.add')}
      onAdd={() => setOpen({ dialog: 'add' })}
      error={error}
      count={items?.length ?? null}
      none={t('group.none')}
      table={
        <GroupTable groups={items ?? []} onOpen={(dialog, group) => setOpen({ dialog, group })} />
      }
    >
      {open?.dialog === 'add' ? (
        <EditGroup api={api} group={null} onClose={close} onDone={done} />
      ) : null}
      {open?.dialog === 'change' ? (
        <EditGroup api={api} group={open.group} onClose={close} onDone={done} />
      ) : null}
      {open?.dialog === 'remove' ? (
        <ConfirmDialog
          title={t('group.remove')}
          question={t('group.remove.question', { name: open.group.name })}
          confirm={t('group.remove')}
          onClose={close}
          onConfirm={async () => {
            await api.removeGroup(open.group.id);
            await done(t('group.removed', { name: open.group.name }));
          }}
        />
      ) : null}
    </AccessList>
  );
}

/** The first cameras, and how many more there are: a group may have 2,000. */
function shortList(cameras: readonly string[]): string {
  if (cameras.length === 0) return t('group.empty');
  const more = cameras.length - SHOWN;
  return cameras.slice(0, SHOWN).join(', ') + (more > 0 ? ` +${more}` : '');
}

function GroupTable(props: {
  groups: readonly CameraGroup[];
  onOpen: (dialog: 'change' | 'remove', group: CameraGroup) => void;
}) {
  return (
    <Table columns={[t('group.name'), t('access.cameras')]} actions>
      {props.groups.map((group) => (
        <tr key={group.id} data-group={group.id}>
          <td>{group.name}</td>
          <td>{shortList(group.cameras)}</td>
          <RowActions
            actions={[
              { label: t('group.change'), onClick: () => props.onOpen('change', group) },
              { label: t('group.remove'), onClick: () => props.onOpen('remove', group) },
            ]}
          />
        </tr>
      ))}
    </Table>
  );
}

function EditGroup(props: {
  api: Api;
  /** Null: a new one. */
  group: CameraGroup | null;
  onClose: () => void;
  onDone: (message: string) => Promise<void>;
}) {
  const { api, group } = props;
  const [name, setName] = useState(group?.name ?? '');
  const [chosen, setChosen] = useState<readonly string[]>(group?.cameras ?? []);
  const title = t(group === null ? 'group.add' : 'group.change');
  const save = async () => {
    const body = { name: name.trim(), cameras: chosen };
    const saved = group === null ? await api.addGroup(body) : await api.changeGroup(group.id, body);
    await props.onDone(t(group === null ? 'group.added' : 'group.changed', { name: saved.name }));
  };
  return (
    <FormDialog
      title={title}
      submit={t(group === null ? 'group.add' : 'action.save')}
      problem={() => (name.trim() === '' ? t('group.name.missing') : null)}
      onSubmit={save}
      onClose={props.onClose}
    >
      <TextField
        label={t('group.name')}
        hint={t('group.name.hint')}
        value={name}
        onInput={setName}
      />
      <CamerasField api={api} before={group?.cameras ?? []} value={chosen} onChange={setChosen} />
    </FormDialog>
  );
}

function CamerasField(props: {
  api: Api;
  /** Of the group, also those that were removed. */
  before: readonly string[];
  value: readonly string[];
  onChange: (cameras: readonly string[]) => void;
}) {
  const { value, onChange } = props;
  const { items, error } = useList((signal) => props.api.cameras(signal));
  const names = new Map(props.before.map((id) => [id, id]));
  for (const camera of items ?? []) names.set(camera.id, camera.name);
  return (
    <ChoiceField
      legend={t('access.cameras')}
      hint={error ?? (value.length === 0 ? t('group.empty.hint') : null)}
      names={names}
      value={value}
      onChange={onChange}
    />
  );
}
