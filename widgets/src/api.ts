// The REST of the server's half. Jupyter's own connection carries the token and the XSRF header.

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';
import { isBegun, isCall, isDetails, isItems, isProblem, isShown, isStop } from './answers';
import type { Check, Details, Item, Items, Shown } from './answers';

const LOOK_MS = 700;
const SELDOM_MS = 30_000;
// A server of ours gives up by itself 5 s before: what has not answered by then never will.
const ANSWER_MS = { GET: 25_000, POST: 35_000 };
const PLAN_MS = 55_000;
// A call that is not there by then was never begun.
const BEGIN_MS = 60_000;
const LIVE = ['starting', 'running', 'stopping'];
const AGAIN = 'see whether JupyterLab still runs; it is asked again.';

/** What went wrong and how to mend it. `missing`: asking again is no use. `away`: nobody of ours answered. */
export class ApiError extends Error {
  constructor(
    what: string,
    readonly fix: string,
    readonly kind: 'refused' | 'missing' | 'away' = 'refused',
    readonly line = ''
  ) {
    super(what);
  }
}

export class Api {
  private looking: AbortController | undefined;

  constructor(private readonly settings: ServerConnection.ISettings) {}

  /** What was written after that revision; an earlier look that still waits is given up. */
  items(since: number): Promise<Items> {
    this.looking?.abort();
    this.looking = new AbortController();
    return this.request(`items?since=${since}`, isItems, {}, this.looking);
  }

  /** What there is to see of one thing. */
  details(item: Item): Promise<Details> {
    return this.request(`items/${encodeURIComponent(item.uri)}?job=${encodeURIComponent(item.job)}`, isDetails);
  }

  /** What the next run of a thing would do, as a cell would show it; the server may have to read much for it. */
  plan(item: Item): Promise<Shown> {
    return this.request(`plans/${encodeURIComponent(item.uri)}`, isShown, {}, new AbortController(), PLAN_MS);
  }

  /** Ask a thing to end; resolves when the request is written, not when the thing has ended. */
  async stop(item: Item): Promise<void> {
    await this.post(item, 'stop', isStop);
  }

  /** Call another verb for a thing; resolves when it has done what it does.
   *
   * What has been lost on the way is asked about again until it is known, and never repeated. An error that is `away`:
   * what came of it will not be known.
   */
  async act(item: Item, verb: string, onDoubt: (isInDoubt: boolean) => void): Promise<void> {
    const id = crypto.getRandomValues(new Uint32Array(4)).join('');
    const path = `jobs/lab:call-${item.noun}-${verb}.${id}`;
    const flags = item.actions.find(action => action.verb === verb)?.flags ?? {};
    const begunBy = Date.now() + BEGIN_MS;
    let lost: ApiError | undefined;
    try {
      await this.post(item, verb, isBegun, { id, flags });
    } catch (error) {
      if (!(error instanceof ApiError && isAway(error))) {
        throw error;
      }
      lost = new ApiError(error.message, error.fix); // which it is, should it turn out that nothing was begun
    }
    for (let pause = LOOK_MS; ; pause = Math.min(2 * pause, SELDOM_MS)) {
      const call = await this.request(path, isCall).catch((error: ApiError) => error);
      if (!(call instanceof ApiError)) {
        if (!LIVE.includes(call.state)) {
          if (call.error) {
            throw lost && call.state === 'stopped' ? lost : new ApiError(call.error.what, call.error.fix);
          }
          return;
        }
        lost = undefined;
        pause = LOOK_MS / 2;
      } else if (!isAway(call) && !(lost && Date.now() < begunBy)) {
        throw lost && call.kind === 'refused' ? lost : new ApiError(call.message, call.fix, 'away');
      }
      onDoubt(call instanceof ApiError);
      await new Promise(resolve => window.setTimeout(resolve, pause));
    }
  }

  private post<T>(item: Item, verb: string, isOurs: Check<T>, more = {}): Promise<T> {
    const body = JSON.stringify({ args: [item.name], ...more });
    return this.request(`${item.noun}/${verb}`, isOurs, { method: 'POST', body });
  }

  /** An answer of ours in time; whatever else comes is an ApiError. */
  private async request<T>(
    path: string,
    isOurs: Check<T>,
    init: RequestInit = {},
    control = new AbortController(),
    within = init.body ? ANSWER_MS.POST : ANSWER_MS.GET
  ): Promise<T> {
    const url = URLExt.join(this.settings.baseUrl, 'aiinfra') + '/' + path;
    let response: Response;
    let text: string;
    const timer = window.setTimeout(() => control.abort(), within);
    try {
      response = await ServerConnection.makeRequest(url, { ...init, signal: control.signal }, this.settings);
      text = await response.text();
    } catch {
      throw new ApiError('The server does not answer.', AGAIN, 'away');
    } finally {
      window.clearTimeout(timer);
    }
    const answer = parsed(text);
    if (!response.ok) {
      throw problem(response.status, answer);
    }
    if (!isOurs(answer)) {
      const kind = answer !== undefined ? 'JSON' : /^\s*</.test(text) ? 'HTML' : 'text';
      const what = `The server answered with something that is not ours (${kind}).`;
      throw new ApiError(what, 'reload the page and log in; after an upgrade, start JupyterLab again.', 'away');
    }
    return answer;
  }
}

/** Whether nobody of ours has answered, so that what came of a request is not known. */
export function isAway(error: unknown): boolean {
  return error instanceof ApiError && error.kind === 'away';
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function problem(status: number, answer: unknown): ApiError {
  if (isProblem(answer)) {
    return new ApiError(answer.what, answer.fix, status === 503 ? 'away' : 'refused');
  }
  if (status === 404) {
    const line = 'pip install aiinfra-lab';
    const fix = `\`${line}\` where JupyterLab itself runs, then start it again.`;
    return new ApiError('The server half is missing.', fix, 'missing', line);
  }
  if (status === 403) {
    return new ApiError('The server does not know you any more.', 'reload the page and log in.', 'missing');
  }
  return new ApiError(`The server answered ${status}.`, 'its own log says why.', 'away');
}
