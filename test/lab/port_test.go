package lab

import (
	"sync"
	"testing"
)

// Nobody is given a port that somebody has, who may not listen on it yet.
func TestPortsAreTakenOnce(t *testing.T) {
	var mu sync.Mutex
	given := map[int]bool{}
	var asking sync.WaitGroup
	for range 500 { // by chance alone, two would be the same
		asking.Go(func() {
			port, release, err := freePort()
			if err != nil {
				t.Error(err)
				return
			}
			t.Cleanup(release)
			mu.Lock()
			defer mu.Unlock()
			if given[port] {
				t.Errorf("%d was given twice", port)
			}
			given[port] = true
		})
	}
	asking.Wait()
}
