/** Lists that are sent in pieces. */

/** Cuts a list into pieces of at most `count` items and `bytes` bytes; an item that is larger stands alone. */
export function batches<Item>(items: Item[], sizeOf: (item: Item) => number, count: number, bytes: number): Item[][] {
  const all: Item[][] = [];
  let batch: Item[] = [];
  let room = 0;
  for (const item of items) {
    const size = sizeOf(item);
    if (size > room || batch.length === count) {
      all.push((batch = []));
      room = bytes;
    }
    batch.push(item);
    room -= size;
  }
  return all;
}
