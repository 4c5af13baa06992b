/** A table that scrolls sideways where it does not fit, and what can be done with its rows. */

import type { ComponentChildren } from 'preact';
import { t } from '../i18n';

export interface TableProps {
  /** What stands above each column. */
  readonly columns: readonly string[];
  /** Whether the rows end with `RowActions`. */
  readonly actions?: boolean;
  /** The rows. */
  readonly children: ComponentChildren;
}

export function Table({ columns, actions = false, children }: TableProps) {
  return (
    <div class="table-scroll">
      <table class="table">
        <thead>
          <tr>
            {columns.map((column) => (
              <th key={column} scope="col">
                {column}
              </th>
            ))}
            {actions ? (
              <th scope="col">
                <span class="visually-hidden">{t('access.actions')}</span>
              </th>
            ) : null}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </div>
  );
}

export interface RowAction {
  readonly label: string;
  readonly onClick: () => void;
}

export function RowActions({ actions }: { actions: readonly RowAction[] }) {
  return (
    <td class="row-actions">
      {actions.map(({ label, onClick }) => (
        <button key={label} type="button" class="button quiet small" onClick={onClick}>
          {label}
        </button>
      ))}
    </td>
  );
}
