package recording

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatebook/internal/access"
)

// inBubble runs fn with a recorder whose background work runs on the bubble's clock.
func inBubble(t *testing.T, change func(*Options), fn func(b *book)) {
	synctest.Test(t, func(t *testing.T) {
		b := newBook(t)
		b.mustStart(func(o *Options) {
			o.Now, o.SealAge, o.SealIdle, o.SealBytes = time.Now, time.Minute, 10*time.Second, 1<<20
			if change != nil {
				change(o)
			}
		})
		fn(b)
		b.kill()
	})
}

func (b *book) after(d time.Duration) int {
	time.Sleep(d)
	synctest.Wait()
	segments, _ := b.files("s")
	return len(segments)
}

func TestSealedWhenQuiet(t *testing.T) {
	inBubble(t, nil, func(b *book) {
		end(b.t, begin(b.t, b, "s", "c", ""), access.Outcome{})
		if n := b.after(8 * time.Second); n != 0 {
			b.t.Errorf("%d segments before it was quiet for long", n)
		}
		if n := b.after(5 * time.Second); n != 1 {
			b.t.Errorf("%d segments after it was quiet", n)
		}
		if n := b.after(10 * time.Minute); n != 1 {
			b.t.Errorf("%d segments of a session in which nothing more happened", n)
		}
	})
}

func TestSealedByAge(t *testing.T) {
	inBubble(t, nil, func(b *book) {
		o := begin(b.t, b, "s", "c", "") // stays open: never quiet
		if n := b.after(50 * time.Second); n != 0 {
			b.t.Errorf("%d segments before its age", n)
		}
		if n := b.after(15 * time.Second); n != 1 {
			b.t.Errorf("%d segments at its age", n)
		}
		end(b.t, o, access.Outcome{})
		if n := b.after(15 * time.Second); n != 2 {
			b.t.Errorf("%d segments after its end", n)
		}
	})
}

func TestSealedBySize(t *testing.T) {
	inBubble(t, nil, func(b *book) {
		o := begin(b.t, b, "s", "c", "")
		chunk := make([]byte, maxChunk)
		for range 17 {
			if err := o.Write(Stdout, ToClient, chunk); err != nil {
				b.t.Fatal(err)
			}
		}
		synctest.Wait()
		if n := b.after(0); n != 1 {
			b.t.Errorf("%d segments at its size", n)
		}
		end(b.t, o, access.Outcome{})
	})
}

// An archive that fails for a while is tried again, and nothing is lost or twice.
func TestSealingIsTriedAgain(t *testing.T) {
	var down atomic.Bool
	down.Store(true)
	fail := func(step string) error {
		if down.Load() && step == "put" {
			return errors.New("the archive is down")
		}
		return nil
	}
	inBubble(t, func(o *Options) { o.Fail = fail }, func(b *book) {
		o := begin(b.t, b, "s", "c", "")
		end(b.t, o, access.Outcome{})
		if n := b.after(5 * time.Minute); n != 0 {
			b.t.Fatalf("%d segments", n)
		}
		down.Store(false)
		if n := b.after(2 * time.Minute); n != 1 {
			b.t.Errorf("%d segments when the archive is back", n)
		}
		if got := b.sealed("s"); len(got) != 1 {
			b.t.Errorf("sealed: %v", got)
		}
		b.mustVerify(b.t)
	})
}
