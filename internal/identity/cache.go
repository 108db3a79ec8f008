package identity

import (
	"crypto/sha256"
	"sync"
)

// cache remembers values by token, of which it keeps only the SHA-256. It holds at most twice size entries, and forgets
// those that were used least recently: a value that is not read while size others are added is gone.
type cache[V any] struct {
	size int

	mu            sync.Mutex
	recent, older map[[sha256.Size]byte]V
}

func newCache[V any](size int) *cache[V] {
	return &cache[V]{size: size, recent: map[[sha256.Size]byte]V{}}
}

func (c *cache[V]) get(key [sha256.Size]byte) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if v, ok := c.recent[key]; ok {
		return v, true
	}
	v, ok := c.older[key]
	if ok {
		c.add(key, v)
	}
	return v, ok
}

func (c *cache[V]) put(key [sha256.Size]byte, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(key, v)
}

func (c *cache[V]) drop(key [sha256.Size]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.recent, key)
	delete(c.older, key)
}

func (c *cache[V]) add(key [sha256.Size]byte, v V) {
	if len(c.recent) >= c.size {
		c.older, c.recent = c.recent, make(map[[sha256.Size]byte]V, c.size)
	}
	c.recent[key] = v
}

func (c *cache[V]) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.recent) + len(c.older)
}
