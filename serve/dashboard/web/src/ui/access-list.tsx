/** A list of users, keys or groups: a head with a button to add one, then its table or its state. */

import type { ComponentChildren } from 'preact';
import { t } from '../i18n';
import { PlusIcon } from './icons';

export interface AccessListProps {
  readonly title: string;
  readonly add: string;
  readonly onAdd: () => void;
  readonly error: string | null;
  /** How many there are; null: not read yet. */
  readonly count: number | null;
  /** Text of an empty list. */
  readonly none: string;
  readonly table: ComponentChildren;
  /** The dialog that is open. */
  readonly children: ComponentChildren;
}

export function AccessList(props: AccessListProps) {
  return (
    <section class="page-section" aria-label={props.title}>
      <div class="section-head">
        <h2>{props.title}</h2>
        <button type="button" class="button" onClick={props.onAdd}>
          <PlusIcon />
          {props.add}
        </button>
      </div>
      <p class="form-error" role="alert">
        {props.error}
      </p>
      <Body {...props} />
      {props.children}
    </section>
  );
}

function Body({ count, error, none, table }: AccessListProps): ComponentChildren {
  if (count === null)
    return error === null ? <p class="quiet-text">{t('access.loading')}</p> : null;
  return count === 0 ? <p class="quiet-text">{none}</p> : table;
}
