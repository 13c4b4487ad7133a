/// Files that somebody damaged, or made to do damage: every loader answers with an error that says what is wrong, soon
/// and without taking memory that the file does not account for.
///
/// `-Dsjd2.mutants=N` tries N files in all instead of the hundred thousand of the ordinary run; a failure names the
/// loader and the number of the file, which is all that is needed to make it again.
@NullMarked
package io.sjd2.hostile;

import org.jspecify.annotations.NullMarked;
