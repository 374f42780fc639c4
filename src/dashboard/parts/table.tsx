import type { ComponentChildren } from 'preact';

export interface Column<T> {
  readonly title: string;
  readonly cell: (row: T) => ComponentChildren;
  /** Numbers stand at the right. */
  readonly isNumber?: boolean;
  /** It names the row. */
  readonly isHead?: boolean;
}

/** Rows and columns; on narrow screens each row is a card whose lines carry the titles. */
export function Table<T>(props: {
  readonly caption: string;
  readonly columns: readonly Column<T>[];
  readonly rows: readonly T[];
  readonly rowKey: (row: T, at: number) => string;
}) {
  const { caption, columns, rows, rowKey } = props;
  return (
    <div class="table-scroll">
      <table>
        <caption class="unseen">{caption}</caption>
        <thead>
          <tr>
            {columns.map(({ title, isNumber }) => (
              <th key={title} scope="col" class={isNumber === true ? 'number' : undefined}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, at) => (
            <tr key={rowKey(row, at)}>
              {columns.map((column) => (
                <Cell key={column.title} column={column} row={row} />
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Cell<T>({ column, row }: { readonly column: Column<T>; readonly row: T }) {
  const kind = column.isNumber === true ? 'number' : undefined;
  const content = column.cell(row);
  return column.isHead === true ? (
    <th scope="row" data-title={column.title} class={kind}>
      {content}
    </th>
  ) : (
    <td data-title={column.title} class={kind}>
      {content}
    </td>
  );
}
