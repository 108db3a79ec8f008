package ledger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/mod/sumdb/note"
)

// The file that makes new entries durable by one write and one sync: a record for each checkpoint since the tiles were last
// brought to disk. A record, big-endian, docs/design/ledger.md «Recent»:
//
//	 0          8     12      20        24       28
//	┌──────────┬─────┬───────┬─────────┬────────┬──────┬─────────┐
//	│ gbrecent │ crc │ first │ entries │ note   │ note │ entries │
//	└──────────┴─────┴───────┴─────────┴────────┴──────┴─────────┘
//
// crc is the CRC32-C of all that follows it, first the log's size before the entries; then the lengths of entries and note. The first
// record has no entries: its checkpoint is that of the tiles on disk. What an earlier round left behind the last record is not taken for
// one, since the log was shorter then: its first is not where the last record ends.
const (
	recentFile        = "recent"
	recentMagic       = "gbrecent"
	recordHeaderBytes = 28
	maxRecentBytes    = 1 << 30
)

// record is one checkpoint and the entries that it is the first to cover, each as in a bundle.
type record struct {
	first         uint64
	note, entries []byte
}

func (r record) header() []byte {
	h := append(make([]byte, 0, recordHeaderBytes+len(r.note)), recentMagic...)
	h = binary.BigEndian.AppendUint32(h, 0)
	h = binary.BigEndian.AppendUint64(h, r.first)
	h = binary.BigEndian.AppendUint32(h, uint32(len(r.entries)))
	h = append(binary.BigEndian.AppendUint32(h, uint32(len(r.note))), r.note...)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.BigEndian.PutUint32(h[8:], crc32.Update(crc32.Checksum(h[12:], table), table, r.entries))
	return h
}

// cutRecord returns the first record of data and what follows it.
func cutRecord(data []byte) (r record, rest []byte, ok bool) {
	if len(data) < recordHeaderBytes || string(data[:8]) != recentMagic {
		return r, nil, false
	}
	r.first = binary.BigEndian.Uint64(data[12:])
	entries, signed := uint64(binary.BigEndian.Uint32(data[20:])), uint64(binary.BigEndian.Uint32(data[24:]))
	end := recordHeaderBytes + signed + entries
	if end > uint64(len(data)) || crc32.Checksum(data[12:end], crc32.MakeTable(crc32.Castagnoli)) != binary.BigEndian.Uint32(data[8:]) {
		return r, nil, false
	}
	r.note, r.entries = data[recordHeaderBytes:recordHeaderBytes+signed], data[recordHeaderBytes+signed:end]
	return r, data[end:], true
}

// size is the log's size behind the record.
func (r record) size() (uint64, bool) {
	n := r.first
	for b := r.entries; len(b) > 0; n++ {
		var err error
		if _, b, err = cutEntry(b); err != nil {
			return 0, false
		}
	}
	return n, true
}

// readRecent returns the records, none if the file is missing or was being begun anew.
func readRecent(dir string) ([]record, error) {
	data, err := readLimited(filepath.Join(dir, recentFile), maxRecentBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []record
	for next := uint64(0); ; {
		r, rest, ok := cutRecord(data)
		if !ok || len(list) > 0 && r.first != next || len(list) == 0 && len(r.entries) > 0 {
			return list, nil // torn, or of an earlier round
		}
		if next, ok = r.size(); !ok {
			return list, nil
		}
		list, data = append(list, r), rest
	}
}

// tree checks the record's signature.
func (r record) tree(v note.Verifier) (tree, error) {
	t, err := openCheckpoint(r.note, v)
	size, _ := r.size()
	if err == nil && t.size != size {
		err = fmt.Errorf("it is of size %d, its entries end at %d", t.size, size)
	}
	if err != nil {
		return tree{}, &Damage{Kind: DamagedCheckpoint, Path: recentFile, Detail: err.Error()}
	}
	return t, nil
}

// recent is the file, open for writing.
type recent struct {
	file *os.File
	at   int64 // where the next record goes
	fail func(point string) error
}

func openRecent(dir string, fail func(point string) error) (*recent, error) {
	f, err := os.OpenFile(filepath.Join(dir, recentFile), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", recentFile, err)
	}
	if err := syncDir(dir); err != nil {
		return nil, errors.Join(fmt.Errorf("syncing ledger folder: %w", err), f.Close())
	}
	return &recent{file: f, fail: fail}, nil
}

// append has the record on disk when it returns. A failed write can be tried again: it leaves nothing that reads as a record.
func (r *recent) append(rec record) error {
	if err := r.fail("append " + recentFile); err != nil {
		return err
	}
	head := rec.header()
	if _, err := r.file.WriteAt(head, r.at); err != nil {
		return fmt.Errorf("writing ledger: %w", err)
	}
	if _, err := r.file.WriteAt(rec.entries, r.at+int64(len(head))); err != nil {
		return fmt.Errorf("writing ledger: %w", err)
	}
	err := r.fail("sync " + r.file.Name())
	if err == nil {
		err = syncData(r.file)
	}
	if err != nil {
		return &syncError{err}
	}
	r.at += int64(len(head) + len(rec.entries))
	return nil
}

// restart begins anew: the tiles of size are on disk. Where it fails, the records behind the first may not be found any more.
func (r *recent) restart(size uint64, signed []byte) error {
	r.at = 0
	if err := r.append(record{first: size, note: signed}); err != nil {
		return &syncError{err}
	}
	return nil
}
