package ledger

import "fmt"

// DamageKind is what a Damage befell.
type DamageKind string

const (
	// DamagedEntry: an entry was edited, moved, removed or inserted.
	DamagedEntry DamageKind = "entry"
	// DamagedTile: a tile is missing or was altered. Verify says so only when all entries are as they were signed.
	DamagedTile DamageKind = "tile"
	// DamagedTail: a checkpoint kept elsewhere covers entries that the log's own does not: its end was removed.
	DamagedTail DamageKind = "tail"
	// DamagedHistory: the log is whole in itself, but is not what a checkpoint kept elsewhere covers: it was rewritten and signed again.
	DamagedHistory DamageKind = "history"
	// DamagedCheckpoint: the log's checkpoint is missing, is not signed by the log's key, or cannot be read.
	DamagedCheckpoint DamageKind = "checkpoint"
	// DamagedKey: a checkpoint kept elsewhere is signed by another key than the log's: the key, and with it the log, was exchanged.
	DamagedKey DamageKind = "key"
)

// Damage is the error for a log that is not what was signed.
type Damage struct {
	Kind DamageKind
	// First and End bound the first entry that can be seen to have been touched: First <= it < End. It is First where End is First+1.
	// Where so many tiles are damaged that nothing proves the entries before it, Detail says so.
	// End is 0 where nothing says how far the damage can reach, as when there is no checkpoint.
	First, End uint64
	Path       string // of the file, in the log's folder; empty where it is not one
	Detail     string
}

func (d *Damage) Error() string {
	return "ledger is damaged: " + d.what() + d.where() + ": " + d.Detail
}

func (d *Damage) what() string {
	exact := d.End == d.First+1
	switch {
	case d.Kind == DamagedEntry && exact:
		return fmt.Sprintf("entry %d", d.First)
	case d.Kind == DamagedEntry:
		return fmt.Sprintf("an entry from %d to %d", d.First, d.End-1)
	case d.Kind == DamagedTile:
		return fmt.Sprintf("a hash tile of entries %d to %d", d.First, max(d.End, 1)-1)
	case d.Kind == DamagedTail:
		return fmt.Sprintf("entries %d to %d are gone", d.First, d.End-1)
	case d.Kind == DamagedHistory && exact:
		return fmt.Sprintf("entry %d was rewritten", d.First)
	case d.Kind == DamagedHistory:
		return fmt.Sprintf("entries were rewritten, the first from %d to %d", d.First, d.End-1)
	default:
		return string(d.Kind)
	}
}

func (d *Damage) where() string {
	if d.Path == "" {
		return ""
	}
	return " (" + d.Path + ")"
}
