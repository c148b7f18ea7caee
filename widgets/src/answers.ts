// What the server answers, and how an answer of ours is told from what somebody in between answers.

/** What is asked about before it is done: the answer calls `verb`, with `flags`. `instead`: the verb of a milder action. */
export interface Action {
  verb: string;
  title: string;
  question: string;
  consequence: string;
  instead: string;
  flags: Record<string, string>;
}

/** How a state looks; only the server knows which state looks how. */
export interface Mark {
  word: string;
  glyph: string;
  tone: string;
}

export interface Item extends Mark {
  uri: string;
  noun: string;
  name: string;
  state: string;
  is_live: boolean;
  since: number;
  detail: string;
  figure: string;
  facts: string[];
  progress: [number, number] | null;
  stoppable: boolean;
  deadline: number | null;
  job: string;
  actions: Action[];
  /** What it is, where that is not what its noun's things are. */
  kind: string;
  /** The URI of what it belongs to and is listed below. */
  group: string;
}

export interface Step {
  text: string;
  code: string;
  open?: string;
}

/** What happened to a thing by itself, such as a rollback. */
export interface Signal {
  subject: string;
  what: string;
  fix: string;
  at: number;
}

export interface Items {
  rev: number;
  workspace: string | null;
  now?: number;
  items: Item[];
  gone?: string[];
  feed?: string;
  usd_per_hour?: number;
  is_least?: boolean;
  hint?: string;
  steps?: Step[];
  signals?: Signal[];
}

export interface Fact {
  label: string;
  value: string;
  mark: Mark | null;
  /** Which part of a limit the value is, from 0 to 1. */
  share?: number | null;
}

export interface Arm {
  uri: string;
  role: string;
  share: number;
  cells: string[];
}

export interface Details {
  facts: Fact[];
  problem: string;
  fix: string;
  columns: string[];
  arms: Arm[];
  url: string;
  example: string;
  picture: string;
  picture_alt: string;
  log: string;
  code?: string;
  /** Whether it can be asked what its next run would do. */
  has_plan?: boolean;
}

/** What a cell of a notebook would show, by media type. */
export interface Shown {
  'text/html': string;
  'text/plain': string;
}

/** How a verb that was called goes on, and what went wrong with it. */
export interface Call {
  state: string;
  error: { what: string; fix: string } | null;
}

type Like<T> = Record<keyof T, unknown>;

// By what an answer is known: a value of the kind of each part; null stands for any.
const MARK = { word: '', glyph: '', tone: '' } satisfies Like<Mark>;
const ACTION = { verb: '', title: '', question: '', consequence: '', instead: '', flags: {} } satisfies Like<Action>;
const ITEM = {
  ...{ ...MARK, uri: '', noun: '', name: '', state: '', is_live: true, since: 0, detail: '', figure: '' },
  ...{ facts: [''], progress: null, stoppable: true, deadline: null, job: '', actions: [ACTION], kind: '', group: '' }
} satisfies Like<Item>;
const ITEMS = { rev: 0, workspace: null, items: [ITEM] };
const FACTS = [{ label: '', value: '', mark: null }];
const DETAILS = { facts: FACTS, columns: [''], arms: [{ uri: '', role: '', share: 0, cells: [''] }], log: '' };
const CALL = { state: '', error: null } satisfies Like<Call>;

export type Check<T> = (found: unknown) => found is T;

export const isItems = like<Items>(ITEMS);
export const isDetails = like<Details>(DETAILS);
export const isShown = like<Shown>({ 'text/html': '', 'text/plain': '' });
export const isCall = like<Call>(CALL);
export const isStop = like<{ stopping: string[] }>({ stopping: [''] });
export const isBegun = like<{ job: string }>({ job: '' });
export const isProblem = like<{ what: string; fix: string }>({ what: '', fix: '' });

function like<T>(shape: Partial<Like<T>>): Check<T> {
  return (found): found is T => isLike(found, shape);
}

function isLike(found: unknown, shape: unknown): boolean {
  if (shape === null) {
    return found !== undefined;
  }
  if (Array.isArray(shape)) {
    return Array.isArray(found) && found.every(each => isLike(each, shape[0]));
  }
  if (typeof shape !== 'object' || !found) {
    return typeof found === typeof shape && found !== null;
  }
  return Object.entries(shape).every(([name, part]) => isLike((found as Record<string, unknown>)[name], part));
}
