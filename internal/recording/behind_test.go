package recording

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"gatebook/internal/access"
)

// An archive and an index that are down are seen to be behind; when they are back, nothing is.
func TestBehind(t *testing.T) {
	var down atomic.Bool
	fail := func(step string) error {
		if down.Load() && step == "put" {
			return errors.New("the archive is down")
		}
		return nil
	}
	inBubble(t, func(o *Options) { o.Fail = fail }, func(b *book) {
		look := func(what string, sealing, index bool) {
			t.Helper()
			synctest.Wait()
			got := b.Behind()
			if (got.Sealing > 2*time.Minute) != sealing || (got.SealingBytes > 1000) != sealing || (got.Index > time.Minute) != index || (got.IndexFrames > 0) != index {
				b.t.Errorf("%s: %+v", what, got)
			}
		}
		setDown := func(archive, is bool) {
			down.Store(archive)
			b.index.mu.Lock()
			b.index.down = is
			b.index.mu.Unlock()
		}
		time.Sleep(time.Hour)
		look("idle", false, false)
		began := time.Now()
		setDown(true, true)
		end(b.t, begin(b.t, b, "s", "c", string(make([]byte, 2000))), access.Outcome{})
		if got := b.Behind(); got.Sealing > time.Second || got.Index > time.Second {
			b.t.Errorf("at once: %+v", got)
		}
		time.Sleep(time.Hour)
		look("down", true, true)
		if got := b.Behind(); got.Sealing.Round(time.Minute) != time.Since(began).Round(time.Minute) {
			b.t.Errorf("sealing is %s behind", got.Sealing)
		}
		setDown(false, false)
		time.Sleep(2 * time.Minute)
		look("back", false, false)
		setDown(false, true)
		end(b.t, begin(b.t, b, "s", "c2", string(make([]byte, 2000))), access.Outcome{})
		time.Sleep(time.Hour)
		look("the index is down", false, true)
		setDown(false, false)
		time.Sleep(2 * time.Minute)
		look("back again", false, false)
		time.Sleep(time.Hour)
		settled := b.Settled()
		end(b.t, begin(b.t, b, "s", "d", ""), access.Outcome{})
		if got := b.Behind(); got.Sealing > time.Minute {
			b.t.Errorf("after an idle hour, one operation is %s behind", got.Sealing)
		}
		if settled.After(time.Now()) || settled.Before(began) {
			b.t.Errorf("settled is what was before %s, at %s", settled, time.Now())
		}
	})
}
