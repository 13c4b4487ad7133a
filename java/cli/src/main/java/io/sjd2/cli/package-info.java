/// The command line `sjd2`: parses arguments, calls {@link io.sjd2.Engine}, prints.
///
/// Results go to standard output, everything else to standard error. There is no logic about models here: what a
/// command reports is computed in `io.sjd2`, so that a program that embeds the engine gets the same.
@NullMarked
package io.sjd2.cli;

import org.jspecify.annotations.NullMarked;
