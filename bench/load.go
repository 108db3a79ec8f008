package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// load is what wrk counted in one round, and what the contestant paid for it.
type load struct {
	Requests float64 `json:"requests"`
	Bytes    float64 `json:"bytes"`
	Errors   float64 `json:"errors"`
	P50      float64 `json:"p50"` // µs
	Seconds  float64 `json:"seconds"`
	cpu      time.Duration
}

const wrkReport = `done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('JSON{"requests":%d,"bytes":%d,"errors":%d,"p50":%f,"seconds":%f}\n',
    summary.requests, summary.bytes, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), summary.duration / 1e6))
end
`

// wrk asks for path as fast as it can over so many connections, and waits until the contestant has nothing left to do.
func (c contestant) wrk(ctx context.Context, dir, path string, connections, seconds int) (load, error) {
	script := filepath.Join(dir, "report.lua")
	if err := os.WriteFile(script, []byte(wrkReport), 0o644); err != nil {
		return load{}, err
	}
	argv := []string{"wrk", "-t", "1", "-c", strconv.Itoa(connections), "-d", strconv.Itoa(seconds) + "s", "--timeout", "30s", "-s", script}
	if c.token != "" {
		argv = append(argv, "-H", "Authorization: Bearer "+c.token)
	}
	before := c.cpu()
	out, err := output(ctx, append(argv, c.base+path)...)
	if err != nil {
		return load{}, err
	}
	c.quiet(ctx)
	l := load{cpu: c.cpu() - before}
	_, line, ok := strings.Cut(out, "JSON")
	if !ok {
		return load{}, fmt.Errorf("wrk said %q", out)
	}
	if err := json.Unmarshal([]byte(line), &l); err != nil {
		return load{}, fmt.Errorf("wrk said %q: %w", out, err)
	}
	if l.Errors > 0 || l.Requests == 0 {
		return load{}, fmt.Errorf("%s: %.0f of %.0f requests failed:\n%s", c.name, l.Errors, l.Requests, c.output())
	}
	return l, nil
}

// client makes requests one after another over one connection.
func (c contestant) client() *http.Client {
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableCompression: true, MaxIdleConnsPerHost: 4}}
}

// get makes one request, and gives the time to the first byte and the size of the body.
func (c contestant) get(ctx context.Context, client *http.Client, path string) (first time.Duration, size int64, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return 0, 0, err
	}
	if c.token != "" {
		r.Header.Set("Authorization", "Bearer "+c.token)
	}
	began := time.Now()
	resp, err := client.Do(r)
	if err != nil {
		return 0, 0, err
	}
	defer resp.Body.Close()
	var one [1]byte
	n, err := io.ReadFull(resp.Body, one[:])
	if err != nil {
		return 0, 0, err
	}
	first = time.Since(began)
	rest, err := io.Copy(io.Discard, resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", c.name, err)
	}
	return first, int64(n) + rest, err
}
