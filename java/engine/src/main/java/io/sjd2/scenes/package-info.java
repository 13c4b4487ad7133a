/// Procedural pictures with captions, and the program that checks a picture against a caption.
///
/// [io.sjd2.scenes.SceneGenerator] makes 64 x 64 scenes of one to three flat shapes from (seed, index), each
/// independent of the others, for training and for measuring how faithfully a model follows its prompt.
/// [io.sjd2.scenes.Caption] reads the small language the captions are written in, and
/// [io.sjd2.scenes.SceneChecker] says statement by statement what holds in a picture.
package io.sjd2.scenes;
