/** A labelled line of text in a form. */

export interface TextFieldProps {
  readonly label: string;
  readonly hint?: string | undefined;
  readonly value: string;
  readonly invalid?: boolean;
  readonly secret?: boolean;
  readonly inputMode?: 'email';
  readonly name?: string;
  /** What browsers fill in; nothing by default. */
  readonly autocomplete?: string;
  readonly onInput: (value: string) => void;
}

export function TextField(props: TextFieldProps) {
  const { label, hint, secret = false, invalid = false, autocomplete = 'off', ...input } = props;
  return (
    <label class="field">
      <span>{label}</span>
      <input
        {...input}
        {...(secret ? { type: 'password' as const } : { type: 'text' as const })}
        autocomplete={autocomplete}
        autocapitalize="off"
        spellcheck={false}
        aria-invalid={invalid}
        onInput={(event) => props.onInput(event.currentTarget.value)}
      />
      {hint ? <small>{hint}</small> : null}
    </label>
  );
}
