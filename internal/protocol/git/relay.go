package git

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"

	"gatebook/internal/access"
	"gatebook/internal/mask"
	"gatebook/internal/wire/pktline"
)

// relayBytes are gathered before they are delivered, unless the upstream pauses.
const relayBytes = 64 << 10

// relay passes an answer of pkt-lines on. Packs pass as they are; text has known secrets masked: in lines one by one, in
// messages for a person across lines, however they are cut.
type relay struct {
	s     *sink
	x     *exchange
	known bool
	// rewrite changes a line of an advertisement; nil in its place drops it.
	rewrite func(line []byte) []byte
	// report is told of what is in band 1; nil: that is a pack.
	report func(b []byte)
	// beforeFlush is called before a mark is relayed.
	beforeFlush func() error

	out      []byte
	messages *mask.TextWriter
	told     buffer
	masked   int64
}

// run relays src to its end.
func (l *relay) run(src io.Reader) error {
	in := pktline.NewReader(&pausing{src, l.deliver})
	for {
		p, err := in.Next()
		switch {
		case errors.Is(err, io.EOF):
			if err := l.endMessages(); err != nil {
				return err
			}
			if err := l.deliver(); err != nil {
				return err
			}
			return l.s.flush()
		case errors.Is(err, pktline.ErrHeader) && !l.x.banded():
			return l.rawPack(in)
		case err != nil:
			return err
		}
		if err := l.packet(p); err != nil {
			return err
		}
		if len(l.out) >= relayBytes {
			if err := l.deliver(); err != nil {
				return err
			}
		}
	}
}

// banded reports whether no pack can come but in a side band: in version 2 always.
func (x *exchange) banded() bool { return x.kind != upload || x.version == 2 }

// rawPack relays a pack that came without side bands.
func (l *relay) rawPack(in *pktline.Reader) error {
	if err := l.deliver(); err != nil {
		return err
	}
	rest := in.Rest()
	var magic [4]byte
	if _, err := io.ReadFull(rest, magic[:]); err != nil || string(magic[:]) != "PACK" {
		return access.Refuse(access.CodeUpstream, err, "target %q answered with what is no pack", l.x.op.Target.Name)
	}
	if _, err := io.Copy(l.s, io.MultiReader(bytes.NewReader(magic[:]), rest)); err != nil {
		return err
	}
	return l.s.flush()
}

func (l *relay) packet(p pktline.Packet) error {
	if p.Kind != pktline.Data || len(p.Payload) == 0 {
		if err := l.endMessages(); err != nil {
			return err
		}
		if l.beforeFlush != nil {
			if err := l.beforeFlush(); err != nil {
				return err
			}
		}
		l.out = append(l.out, p.Raw...)
		return nil
	}
	switch band := pktline.Band(p.Payload[0]); band {
	case pktline.PackData:
		if l.report != nil {
			l.report(p.Payload[1:])
		} else {
			l.out = append(l.out, p.Raw...)
		}
		return nil
	case pktline.Progress, pktline.Fatal:
		return l.message(band, p.Payload[1:])
	}
	return l.line(p)
}

// message relays what a person is told.
func (l *relay) message(band pktline.Band, text []byte) error {
	if !l.known {
		return l.band(band, text)
	}
	if l.messages == nil {
		l.messages = l.x.scope.Text(&l.told)
	}
	if _, err := l.messages.Write(text); err != nil {
		return err
	}
	if band == pktline.Fatal { // nothing follows
		return l.closeMessages(band)
	}
	if err := l.messages.Flush(); err != nil {
		return err
	}
	return l.say(band)
}

func (l *relay) say(band pktline.Band) error {
	text := l.told.b
	l.told.b = nil
	if len(text) == 0 {
		return nil
	}
	return l.band(band, text)
}

func (l *relay) band(band pktline.Band, text []byte) error {
	var b bytes.Buffer
	if err := pktline.NewWriter(&b).Band(band, text); err != nil {
		return err
	}
	l.out = append(l.out, b.Bytes()...)
	return nil
}

// endMessages lets go of what was held of the messages, before anything that ends them.
func (l *relay) endMessages() error { return l.closeMessages(pktline.Progress) }

func (l *relay) closeMessages(band pktline.Band) error {
	if l.messages == nil {
		return nil
	}
	err := l.messages.Close()
	l.masked += l.messages.Masked()
	l.messages = nil
	if err != nil {
		return err
	}
	return l.say(band)
}

// line relays a line of text: a ref, a capability, an acknowledgement.
func (l *relay) line(p pktline.Packet) error {
	payload := p.Payload
	if l.rewrite != nil {
		if payload = l.rewrite(payload); payload == nil {
			return nil
		}
	}
	if l.known {
		var b buffer
		t := l.x.scope.Text(&b)
		if _, err := t.Write(payload); err != nil {
			return err
		}
		if err := t.Close(); err != nil {
			return err
		}
		if t.Masked() > 0 {
			payload, l.masked = b.b, l.masked+t.Masked()
		}
	}
	if bytes.Equal(payload, p.Payload) {
		l.out = append(l.out, p.Raw...)
		return nil
	}
	var err error
	l.out, err = pktline.AppendData(l.out, payload)
	return err
}

func (l *relay) deliver() error {
	if len(l.out) == 0 {
		return nil
	}
	_, err := l.s.Write(l.out)
	l.out = l.out[:0]
	if err != nil {
		return err
	}
	return l.s.flush()
}

// pausing delivers what was gathered before it waits for more.
type pausing struct {
	r      io.Reader
	before func() error
}

func (p *pausing) Read(b []byte) (int, error) {
	if err := p.before(); err != nil {
		return 0, err
	}
	return p.r.Read(b)
}

// detours are capabilities that lead round the gateway, or to what it does not decode.
var detours = []string{"bundle-uri", "packfile-uris", "sideband-all", "push-cert", "session-id"}

// withoutDetours rewrites an advertisement's capabilities. A push is asked not to have thin packs, whose trees could not be
// read without the repository (gitprotocol-capabilities, no-thin).
func withoutDetours(service string) func(line []byte) []byte {
	return func(line []byte) []byte {
		ref, caps, isRef := strings.Cut(string(line), "\x00")
		if !isRef {
			return plainLine(line)
		}
		words := slices.DeleteFunc(strings.Fields(caps), isDetour)
		if service == receivePack {
			words = append(words, "no-thin")
		}
		return []byte(ref + "\x00" + strings.Join(words, " ") + "\n")
	}
}

// plainLine is a capability of version 2 on a line of its own, or a further ref.
func plainLine(line []byte) []byte {
	text := strings.TrimSuffix(string(line), "\n")
	if isDetour(text) {
		return nil
	}
	key, values, ok := strings.Cut(text, "=")
	if !ok || key != "fetch" {
		return line
	}
	return []byte(key + "=" + strings.Join(slices.DeleteFunc(strings.Fields(values), isDetour), " ") + "\n")
}

func isDetour(capability string) bool {
	name, _, _ := strings.Cut(capability, "=")
	return slices.Contains(detours, name)
}
