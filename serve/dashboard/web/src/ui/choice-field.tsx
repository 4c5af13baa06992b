/** A field in which several of some named things can be chosen. */

import { toggle } from '../rules/draft';
import { Toggle } from './toggle';

export interface ChoiceFieldProps {
  readonly legend: string;
  readonly hint: string | null;
  /** Names by id. */
  readonly names: ReadonlyMap<string, string>;
  /** Ids. */
  readonly value: readonly string[];
  readonly onChange: (chosen: readonly string[]) => void;
}

export function ChoiceField({ legend, hint, names, value, onChange }: ChoiceFieldProps) {
  return (
    <fieldset class="field">
      <legend>{legend}</legend>
      {names.size === 0 ? null : (
        <div class="toggles">
          {[...names].map(([id, name]) => (
            <Toggle
              key={id}
              pressed={value.includes(id)}
              onClick={() => onChange(toggle(value, id))}
            >
              {name}
            </Toggle>
          ))}
        </div>
      )}
      <small>{hint}</small>
    </fieldset>
  );
}
