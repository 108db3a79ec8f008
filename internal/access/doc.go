// Package access is Gatebook's vocabulary: who acts (Principal), on what (Target), doing what (Operation), and what
// was decided (Decision). It holds values only, imports nothing but the standard library, and guarantees that every
// zero value refuses: a zero Effect denies, a zero Principal is nobody.
package access
