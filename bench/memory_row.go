package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// memoryRow is row 11: what an idle connection holds, and whether a long stream makes the gateway grow.
func memoryRow(ctx context.Context, o options, rep *report) error {
	f, err := newField(o.Dir)
	if err != nil {
		return err
	}
	defer f.close()
	target, err := toUpstream(f.dir, f.address)
	if err != nil {
		return err
	}
	for _, part := range []struct {
		name string
		run  func(context.Context, options, *report, *gateway) error
	}{{"idle", idleConnections}, {"stream", longStream}} {
		gw, err := newGateway(o.Gatebook, o.Dir, part.name, "", target)
		if err != nil {
			return err
		}
		err = part.run(ctx, o, rep, gw)
		gw.stop()
		if err != nil {
			return err
		}
	}
	return nil
}

// idleConnections opens connections, makes one request over each, and leaves them open.
func idleConnections(ctx context.Context, o options, rep *report, gw *gateway) error {
	token, err := gw.sign("agent")
	if err != nil {
		return err
	}
	request := "GET /t/bench" + smallPath + " HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " + token + "\r\n\r\n"
	var mu sync.Mutex
	var open []net.Conn
	defer func() {
		for _, c := range open {
			c.Close()
		}
	}()
	connect := func(n int) error {
		errs := make(chan error, 8)
		for range cap(errs) {
			go func() {
				for range n / cap(errs) {
					c, err := idle(gw.listen, request)
					if err != nil {
						errs <- err
						return
					}
					mu.Lock()
					open = append(open, c)
					mu.Unlock()
				}
				errs <- nil
			}()
		}
		for range cap(errs) {
			if err := <-errs; err != nil {
				return err
			}
		}
		return nil
	}
	settled := func() (int64, error) {
		gw.quiet(ctx)
		time.Sleep(time.Duration(o.Seconds) * time.Second)
		return gw.memory("VmRSS")
	}
	if err := connect(80); err != nil { // caches and the pool to the upstream
		return err
	}
	before, err := settled()
	if err != nil {
		return err
	}
	if err := connect(o.Idle); err != nil {
		return err
	}
	after, err := settled()
	if err != nil {
		return err
	}
	per := float64(after-before) / float64(len(open)-80) / 1024
	rep.goalIn("KiB", "11", fmt.Sprintf("memory per idle TLS connection, %d of them, each after one request", len(open)-80), per, atMost, 100)
	rep.note("Row 11, idle: VmRSS went from %d to %d MiB; what the requests and handshakes left for the collector is in it.", before>>20, after>>20)
	return nil
}

func idle(addr, request string) (net.Conn, error) {
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c, request); err != nil {
		return nil, err
	}
	buf := make([]byte, 4096)
	n, err := c.Read(buf)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(buf[:n]), "HTTP/1.1 200") {
		return nil, fmt.Errorf("answered %q", buf[:n])
	}
	return c, nil
}

// longStream reads a container's log through the gateway, which masks and records it.
func longStream(ctx context.Context, o options, rep *report, gw *gateway) error {
	c, err := gw.contestant("gatebook")
	if err != nil {
		return err
	}
	total := int64(o.StreamGB * 1e9)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s%s?follow=true&container=bytes-%d", c.base, logPath, total), nil)
	if err != nil {
		return err
	}
	r.Header.Set("Authorization", "Bearer "+c.token)
	before, began := gw.cpu(), time.Now()
	resp, err := c.client().Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	var at []string
	var got int64
	const parts = 5
	for i := range int64(parts) {
		n, err := io.CopyN(io.Discard, resp.Body, total/parts)
		if got += n; err != nil {
			return fmt.Errorf("after %d of %d bytes: %w\n%s", got, total, err, gw.output())
		}
		rss, err := gw.memory("VmRSS")
		if err != nil {
			return err
		}
		at = append(at, fmt.Sprintf("%d", rss>>20))
		progress("stream: %d of %d, %d MiB", i+1, parts, rss>>20)
	}
	took := time.Since(began)
	gw.quiet(ctx)
	peak, err := gw.memory("VmHWM")
	if err != nil {
		return err
	}
	gb := float64(got) / 1e9
	rep.goalIn("MiB", "11", fmt.Sprintf("peak memory (VmHWM) while a stream of %.3g GB is masked and recorded", gb), float64(peak)/(1<<20), atMost, 256)
	rep.note("Row 11, stream: VmRSS after each fifth of %.3g GB: %s MiB; %.1f CPU seconds per GB, sealing included, %.0f MB/s.", gb, strings.Join(at, ", "), (gw.cpu()-before).Seconds()/gb, float64(got)/1e6/took.Seconds())
	return nil
}
