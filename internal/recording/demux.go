package recording

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"filippo.io/age"

	"gatebook/internal/access"
	"gatebook/internal/archive"
)

// maxParts is how many sessions' segments are made in one pass over a unit; each costs about 1 MiB.
const maxParts = 24

// demux takes a unit of the journal apart: a compressed and encrypted file for each session, a key for each session
// that has none yet, and the operations' and notes' leaves in their order.
type demux struct {
	s     *sealer
	unit  unit
	spool string
	// kept are the sessions whose segment is in the archive already; done those made in an earlier pass.
	kept, done map[access.SessionID]bool
	parts      map[access.SessionID]*part
	overflow   bool
	outputs    []output
	head       []byte
	// unitFrame is the unit's first frame: it is each segment's, too.
	unitFrame []byte

	leafFile *os.File
	leaves   *bufio.Writer
	count    uint64
}

// part is one session's segment in the making.
type part struct {
	file   *os.File
	out    *bufio.Writer
	sealer *archive.Sealer
	leaf   Leaf
}

func newDemux(s *sealer, u unit, kept map[access.SessionID]bool) (*demux, error) {
	d := &demux{s: s, unit: u, spool: filepath.Join(s.dir, spoolDir), kept: kept, done: map[access.SessionID]bool{}}
	var err error
	if d.leafFile, err = os.OpenFile(filepath.Join(d.spool, "leaves"), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return nil, fmt.Errorf("spooling: %w", err)
	}
	d.leaves = bufio.NewWriterSize(d.leafFile, 64<<10)
	return d, nil
}

// run makes as many passes as the number of sessions asks for. until is the first segment of the next unit.
func (d *demux) run(until uint64) error {
	for pass := 0; pass == 0 || d.overflow; pass++ {
		d.parts, d.overflow = map[access.SessionID]*part{}, false
		if err := d.pass(pass == 0, until); err != nil {
			return errors.Join(err, d.abort())
		}
		if err := d.finishParts(); err != nil {
			return errors.Join(err, d.abort())
		}
	}
	return d.leaves.Flush()
}

func (d *demux) pass(first bool, until uint64) error {
	sessions := map[uint64]access.SessionID{}
	number := d.unit.firstFrame
	return readOn(d.s.r.journal, &cursor{segment: d.unit.from}, until, func(raw []byte) error {
		f, err := Decode(raw)
		if err != nil {
			return err
		}
		at := number
		number++
		session := f.Session
		switch f.Kind {
		case KindUnit:
			d.unitFrame = append(d.unitFrame[:0], raw...)
			return nil
		case KindResume, KindBegin:
			sessions[f.Op] = session
		case KindNote, KindLeaf:
		default:
			session = sessions[f.Op]
		}
		if session == "" {
			return fmt.Errorf("frame %d: a %s frame of an operation that the unit does not know", at, f.Kind)
		}
		if f.Kind == KindEnd {
			delete(sessions, f.Op)
		}
		if f.Kind == KindLeaf && first {
			if err := d.addLeaf(f.Data); err != nil {
				return err
			}
		}
		return d.add(session, at, raw)
	})
}

func (d *demux) addLeaf(entry []byte) error {
	d.count++
	d.head = binary.AppendUvarint(d.head[:0], uint64(len(entry)))
	if _, err := d.leaves.Write(d.head); err != nil {
		return fmt.Errorf("spooling: %w", err)
	}
	if _, err := d.leaves.Write(entry); err != nil {
		return fmt.Errorf("spooling: %w", err)
	}
	return nil
}

func (d *demux) add(session access.SessionID, number uint64, raw []byte) error {
	if d.kept[session] || d.done[session] {
		return nil
	}
	p := d.parts[session]
	if p == nil {
		if len(d.parts) == maxParts {
			d.overflow = true
			return nil
		}
		var err error
		if p, err = d.begin(session, number); err != nil {
			return err
		}
	}
	p.leaf.Frames++
	return d.write(p, number, raw)
}

func (d *demux) write(p *part, number uint64, raw []byte) error {
	d.head = appendRecordHead(d.head[:0], number-p.leaf.Last, len(raw))
	if _, err := p.sealer.Write(d.head); err != nil {
		return fmt.Errorf("spooling: %w", err)
	}
	if _, err := p.sealer.Write(raw); err != nil {
		return fmt.Errorf("spooling: %w", err)
	}
	p.leaf.Last = number
	return nil
}

// begin makes a session's file, and its key if it has none.
func (d *demux) begin(session access.SessionID, number uint64) (*part, error) {
	to, err := d.key(session)
	if err != nil {
		return nil, err
	}
	p := &part{leaf: Leaf{Type: LeafSegment, Session: session, First: number, Name: archive.SegmentName(string(session), d.unit.id)}}
	if p.file, err = os.OpenFile(d.path(p.leaf.Name), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600); err != nil {
		return nil, fmt.Errorf("spooling: %w", err)
	}
	d.parts[session] = p
	p.out = bufio.NewWriterSize(p.file, 64<<10)
	if p.sealer, err = archive.NewSealer(p.out, to); err != nil {
		return nil, err
	}
	if _, err := p.sealer.Write(appendSegmentHead(nil, session)); err != nil {
		return nil, fmt.Errorf("spooling: %w", err)
	}
	return p, d.write(p, d.unit.firstFrame, d.unitFrame)
}

func (d *demux) path(name string) string {
	return filepath.Join(d.spool, strings.ReplaceAll(strings.TrimPrefix(name, "sessions/"), "/", "~"))
}

// key gives the session's recipient. A new key becomes an output.
func (d *demux) key(session access.SessionID) (age.Recipient, error) {
	now := d.s.r.now().UTC()
	if k, ok := d.s.state.Keys[session]; ok {
		k.Used = now
		d.s.state.Keys[session] = k
		return age.ParseX25519Recipient(k.Recipient)
	}
	public, wrapped, err := archive.NewKey(d.s.r.o.Recipients)
	if err != nil {
		return nil, err
	}
	l := Leaf{Type: LeafKey, Session: session, Name: archive.KeyName(string(session), d.unit.id), Recipient: public.String()}
	l.Size, l.SHA256, err = digestOf(bytes.NewReader(wrapped))
	if err != nil {
		return nil, err
	}
	path := d.path(l.Name)
	if err := os.WriteFile(path, wrapped, 0o600); err != nil {
		return nil, fmt.Errorf("spooling: %w", err)
	}
	d.outputs = append(d.outputs, output{Leaf: l, spooled: path})
	d.s.state.Keys[session] = sessionKey{Recipient: public.String(), Unit: d.unit.id, Used: now}
	return public, nil
}

func (d *demux) finishParts() error {
	for session, p := range d.parts {
		if err := errors.Join(p.sealer.Close(), p.out.Flush(), p.file.Close()); err != nil {
			return fmt.Errorf("spooling: %w", err)
		}
		size, sum := p.sealer.Sum()
		p.leaf.Size, p.leaf.SHA256 = size, sum
		d.outputs = append(d.outputs, output{Leaf: p.leaf, spooled: d.path(p.leaf.Name)})
		d.done[session] = true
		delete(d.parts, session)
	}
	return nil
}

// abort closes the files that are open; the spool is emptied before it is used again.
func (d *demux) abort() error {
	err := d.leafFile.Close()
	for _, p := range d.parts {
		err = errors.Join(err, p.file.Close())
	}
	return err
}

// eachLeaf gives the operations' and notes' leaves in their order. The entry is fn's to keep.
func (d *demux) eachLeaf(fn func(entry []byte) error) error {
	if _, err := d.leafFile.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading the spool: %w", err)
	}
	r := bufio.NewReaderSize(d.leafFile, 64<<10)
	for range d.count {
		n, err := binary.ReadUvarint(r)
		if err != nil {
			return fmt.Errorf("reading the spool: %w", err)
		}
		entry := make([]byte, n)
		if _, err := io.ReadFull(r, entry); err != nil {
			return fmt.Errorf("reading the spool: %w", err)
		}
		if err := fn(entry); err != nil {
			return err
		}
	}
	return nil
}
