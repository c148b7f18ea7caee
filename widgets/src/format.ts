// Times and money as people read them.

const SPACE = '\u00a0';

export function duration(seconds: number): string {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) {
    return `${whole}${SPACE}s`;
  }
  if (whole < 3600) {
    return `${Math.floor(whole / 60)}${SPACE}min`;
  }
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  if (hours < 48) {
    return `${hours}${SPACE}h${minutes ? ` ${minutes}${SPACE}min` : ''}`;
  }
  return `${Math.floor(hours / 24)}${SPACE}d`;
}

/** The time of day of a moment (epoch seconds), to the second. */
export function clock(at: number): string {
  return new Date(at * 1000).toLocaleTimeString('en-GB');
}

/** When something ended: today's time, else the day. */
export function ended(at: number, now: number): string {
  const days = Math.round((midnight(now) - midnight(at)) / 86_400_000);
  if (days <= 0) {
    return clock(at).slice(0, 5);
  }
  return days === 1 ? 'yesterday' : new Date(at * 1000).toLocaleDateString('en-GB', { day: 'numeric', month: 'short' });
}

export function usd(amount: number): string {
  return amount > 0 && amount < 0.01 ? amount.toPrecision(2) : amount.toFixed(2);
}

function midnight(at: number): number {
  return new Date(at * 1000).setHours(0, 0, 0, 0);
}
